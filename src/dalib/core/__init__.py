"""Types, errors, files and the console, which every room may use and which use no room."""
