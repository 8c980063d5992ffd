"""One run, from opening the data to the report, and what is done with a finished one.

This is the largest room, so here is a map of its modules, by what they are for. To read a run as a story, begin with
``train``, and go down where a step is of interest.

- **The story**: ``adapt`` is its front door in Python, ``train`` tells it. ``setup`` checks and opens what ``place``
  and ``resume`` then begin or go on with; ``shared_inputs`` makes what all trainings share; ``models_in_folder`` makes
  the models by ``pair``, the last ``stages`` of a backbone among them; ``judge`` judges them, ``summary`` and ``track``
  tell what came of it. ``several`` makes a run for each of several ``targets``; a ``sibling`` has the same source.
- **What a user sets**: ``config`` has every setting, ``config_file`` writes and reads it, ``once_shared`` and
  ``older_files`` read older forms; ``given_places`` are those of images that are objects. ``presets`` are recipes with
  a name; ``image_defaults`` chooses for the images at hand; ``backbones`` and ``at_hand`` know pretrained networks;
  ``kit_settings`` come from what stands in for the source. ``settings_check`` refuses what does not go together, and
  ``recipe``, with ``methods``, turns all of it into objects: below it nothing reads the configuration.
- **Data and starting points**: ``domains`` opens source and target, ``data_check`` refuses what no run can use,
  ``initial_weights`` come from elsewhere. ``kit``, ``kit_start`` and ``model_alone`` stand in for a source without
  images. ``prior``, ``fewer`` and ``unknown`` are for targets with other shares of the classes, with fewer, and with
  unknown ones; ``hints`` come from somebody else.
- **Features of a frozen backbone**: ``inputs`` says how images or features reach a network; ``feature_space`` computes
  and keeps features, ``domain_features`` those of both domains, ``own_statistics`` those with each domain's statistics;
  ``neutral_features`` are for the judgement alone. ``fastest`` measures how a network is called quickest.
- **Time**: ``checks`` looks before a run begins; ``pace`` measures, ``time_limit`` decides what fits, ``length`` says
  it.
- **Finished runs**: ``select``, ``load``, ``predict``, ``measure``, ``compare`` and ``export`` use the models;
  predictions go to a ``resumable_table``, and to ``parquet``, or are the ``image_predictions`` of Python.
  ``target_predictions``, ``groups``, ``query`` and ``label_estimates``, by a ``labelled_sample``, are for a few labels.
  ``judge_models``, with ``model_tables``, ``table_objects`` and ``model_features``, judges models that were not trained
  here.
"""
