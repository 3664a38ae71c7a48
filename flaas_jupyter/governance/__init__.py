"""Who is calling, what they may do, and who belongs to a project's domain."""
