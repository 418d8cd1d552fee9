"""Gates: what was measured held against the manifest's bounds, quarantine for what fails, and its release by a person's recorded decision."""
