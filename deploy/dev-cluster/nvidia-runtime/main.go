// Command nvidia-runtime does to a container what NVIDIA's container runtime
// does on a machine with GPUs: where the container's environment names visible
// devices, the driver's library is mounted into it. All else is runc's.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	runc = "/usr/sbin/runc"
	// The library and its state, on the host and in the container.
	hostLibrary      = "/run/hearth-dev/gpu/libnvidia-ml.so.1"
	hostState        = "/run/hearth-dev/gpu/state"
	containerLibrary = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
	containerState   = "/run/mock-nvml"
)

func main() {
	if bundle, ok := createdBundle(os.Args[1:]); ok {
		if err := inject(filepath.Join(bundle, "config.json")); err != nil {
			fmt.Fprintln(os.Stderr, "nvidia-runtime:", err)
			os.Exit(1)
		}
	}
	err := syscall.Exec(runc, append([]string{"runc"}, os.Args[1:]...), os.Environ())
	fmt.Fprintln(os.Stderr, "nvidia-runtime:", runc, err)
	os.Exit(1)
}

// createdBundle returns the bundle's folder if the arguments create a container.
func createdBundle(args []string) (string, bool) {
	create, bundle := false, "."
	for i, a := range args {
		name, value, joined := strings.Cut(a, "=")
		switch {
		case a == "create" || a == "run":
			create = true
		case (name == "--bundle" || name == "-b") && joined:
			bundle = value
		case (a == "--bundle" || a == "-b") && i+1 < len(args):
			bundle = args[i+1]
		}
	}
	return bundle, create
}

// inject adds the driver's mounts to a container that asks for devices. Only the
// list of mounts is decoded, so that nothing else can change on the way.
func inject(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var spec map[string]json.RawMessage
	if err := json.Unmarshal(raw, &spec); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var process struct {
		Env []string `json:"env"`
	}
	if err := json.Unmarshal(spec["process"], &process); err != nil {
		return fmt.Errorf("%s: process: %w", path, err)
	}
	if !asksForDevices(process.Env) {
		return nil
	}
	var mounts []json.RawMessage
	if err := json.Unmarshal(spec["mounts"], &mounts); err != nil {
		return fmt.Errorf("%s: mounts: %w", path, err)
	}
	for destination, source := range map[string]string{containerLibrary: hostLibrary, containerState: hostState} {
		mount, err := json.Marshal(map[string]any{
			"destination": destination, "source": source, "type": "bind",
			"options": []string{"bind", "ro", "nosuid", "nodev"},
		})
		if err != nil {
			return err
		}
		mounts = append(mounts, mount)
	}
	if spec["mounts"], err = json.Marshal(mounts); err != nil {
		return err
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(spec); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}

func asksForDevices(env []string) bool {
	asks := false
	for _, e := range env { // the last one wins, as in a real environment
		if devices, ok := strings.CutPrefix(e, "NVIDIA_VISIBLE_DEVICES="); ok {
			asks = devices != "" && devices != "void" && devices != "none"
		}
	}
	return asks
}
