"""The networks: layers, encoders, the shared space, and the decoder that writes about its items."""
