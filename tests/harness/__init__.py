"""What the suites share: starting things, calling the gateway, and judging answers."""
