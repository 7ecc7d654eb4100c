"""From a folder of one's own pictures to a model of them: a bundle, and a page to look around in."""
