"""Contrastive training of a small MineCLIP on captioned episodes, as the mini weights need it: `python -m research.train_mineclip`."""
