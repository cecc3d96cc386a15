"""The port to the database and its adapters: rollouts, routes, audit, outcomes and what webhooks are to be told."""
