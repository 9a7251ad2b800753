"""Array algorithms that services share: pure functions with laws."""
