"""The Minecrafts, each in an environment of its own (`bash tools/install_minecraft.sh <name>`)."""
