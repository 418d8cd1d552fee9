"""The model: which bases are allowed, how one is loaded, adapted, attended, sharded, scored and saved."""
