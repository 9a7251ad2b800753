"""What every service process runs: planner, worker, their loops, gRPC and settings."""
