"""What every room may use and what uses no room: types, errors, files, the console."""
