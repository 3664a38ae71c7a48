"""How nodes know and reach each other: identities, the signed directory, the mesh, and the REST API's client.

Import what you need from its module. Only `iroh_carrier` loads the network library, when a mesh is opened.
"""
