"""What lies on the output volume: written whole or not at all, complete only by a manifest."""
