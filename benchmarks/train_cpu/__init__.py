"""Tokens a second of packed QLoRA on a processor, side by side with TRL's."""
