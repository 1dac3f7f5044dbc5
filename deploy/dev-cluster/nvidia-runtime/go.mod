module hearth.dev/dev-cluster/nvidia-runtime

go 1.26.0
