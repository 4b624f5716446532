"""GradTS (Ma et al., 2021): head importance correlated, tasks and rows chosen by it."""
