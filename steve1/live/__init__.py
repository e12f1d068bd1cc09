"""A game and a policy at a page in a browser: play, prompt, take over, record; and policies and datasets behind the same server."""
