"""The merchant's customers and users, known by the merchant's own `subject_ref`."""
