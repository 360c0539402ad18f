"""What every provider that speaks HTTP shares: allowed addresses, connections, deadlines."""
