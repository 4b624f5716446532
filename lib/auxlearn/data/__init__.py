"""Tasks and suites: schema, readers, validation, the planted suite, leaks, tokenised batches. No model, no method."""
