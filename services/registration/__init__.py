"""Registration: a streamed volume aligned with light microscopy, from unknown orientation."""
