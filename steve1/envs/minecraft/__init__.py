"""The Minecrafts, each in its own environment (`bash tools/install_minecraft.sh <name>`)."""
