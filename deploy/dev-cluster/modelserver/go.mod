module hearth.dev/dev-cluster/modelserver

go 1.26.0
