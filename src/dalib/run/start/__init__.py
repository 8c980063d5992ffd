"""What a run starts from: the images of both domains, what stands in for the source, and first weights.

``domains`` opens source and target, and ``data_check`` refuses what no run can use. ``kit`` and ``model_alone``
stand in for a source without images, with ``target_statistics`` where neither has any. ``initial_weights`` come from
elsewhere.
"""
