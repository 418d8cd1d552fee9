"""What must not be learned: personal data in the training records, found by rules (English, Korean) and by the site's own name models, offline."""
