"""REST and gRPC of the controller: what they take, what they tell, and how a follower passes them on."""
