"""Networks: the classifier around a backbone, and the small backbones."""
