"""The web console: pages for people, made here of what the admin API says. It only looks."""
