"""Score a text in bits per character, static or dynamic, with the protocol of the evaluation."""
