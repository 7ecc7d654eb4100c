"""What a bundle is: its folder, its manifest and its graphs, checked before anything runs them."""
