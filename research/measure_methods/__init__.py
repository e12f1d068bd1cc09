"""What each way of fine-tuning gains and costs, over skills and seeds: `python -m research.measure_methods`."""
