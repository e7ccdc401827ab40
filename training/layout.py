"""What lies in the folder of a run, by its names. docs/design.md says what each of them holds."""

CONFIG = "config.yaml"
BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
CURVE, TENSORBOARD = "metrics.csv", "tensorboard"
PREDICTIONS, SHOWCASE, REPORT = "predictions.parquet", "showcase.json", "report.html"
SUMMARY = "summary.json"  # written last: it marks a run as finished
CONTRACT = "contract.json"  # in the folder of an artifact
