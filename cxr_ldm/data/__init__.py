"""From raw files to training batches: readers → prepare → Prepared → ImageDataModule."""
