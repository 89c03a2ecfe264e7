"""From an OpenAPI document to clusters and routes, with an account of every operation in it.

Pure: bytes in, a plan or a fault out. Nothing is fetched, whatever the document points at.

    text / yaml_text   bytes -> plain values
    document           plain values -> versions, references, operations
    servers            `servers`, `host` and `basePath` -> origins and base paths
    paths              a path key -> a pattern and the conditions hidden in its query or fragment
    publish            what publishing an origin takes: cluster, host, a path to serve it under
    naming             names made from what documents call things
    plan               operations -> clusters and routes, each operation accounted for
    footprint          which requests a route takes, to compare it with others
    placement          where routes go among those a virtual host has, and what stands in their way
"""
