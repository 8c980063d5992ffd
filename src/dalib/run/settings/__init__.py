"""What a user sets for a run: the configuration, its files, its presets, and the choice of defaults.

``config`` has every setting; ``config_file`` writes and reads it, ``once_shared`` and ``older_files`` read older forms,
and ``given_places`` are those of images that are objects. ``presets`` are recipes with a name; ``image_defaults``
chooses for the images at hand; ``backbones`` and ``at_hand`` know pretrained networks; ``kit_settings`` come from what
stands in for the source.
"""
