"""Quality metrics of paintings and networks, artifact detectors, and reports."""
