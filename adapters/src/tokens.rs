//! Counting tokens of hosted models.
