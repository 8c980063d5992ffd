"""The judgement of models: how accurate they are and whether adaptation helped; pure functions of predictions."""
