"""What headroles costs, as ratios within one run; see `docs/maintainers.md` for the commands."""
