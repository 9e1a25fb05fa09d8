"""`onestroke live`, `python live.py`: paint a camera live, for a stage or an exhibition."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from onestroke.cli.live_options import Options
from onestroke.cli.options import command
from onestroke.devices import memory_kept
from onestroke.errors import escaped
from onestroke.inference.controls import StyleControls
from onestroke.live.capture import Camera, Capture, Clip, Source
from onestroke.live.figures import Figures, Report
from onestroke.live.mapping import read_map
from onestroke.live.osc import Osc
from onestroke.live.performance import Performance
from onestroke.live.server import Server
from onestroke.live.signals import Signals
from onestroke.live.stage import Output, Stage
from onestroke.live.windows import VirtualCamera, Window

USAGE = """\
python live.py ckpt=STYLE.safetensors [camera=0 | input=CLIP] [show=page] [map=dance] [options]
onestroke live ... is the same, where OneStroke is installed"""

EPILOGUE = "Ctrl-C ends it. Needs  pip install 'onestroke[live]'; with the extra onnx too, a CPU paints faster."


def run(options: Options) -> None:
    """Paint until Ctrl-C, or until the window is closed."""
    mapping = None if options.map is None else read_map(options.map)
    report, figures, signals = Report(), Figures(), Signals()
    source = source_of(options)
    controls = StyleControls(options.style, options.strength, options.stroke)
    performance = Performance(Path(options.ckpt), controls, options.device, options.backend, mapping)
    idle = [] if mapping is None else performance.idle_routes(mapping)
    if idle:
        report.say(f"{escaped(options.ckpt)} has no control for {', '.join(idle)}: these routes of the map do nothing")
    capture = Capture(source, report.say)
    with ExitStack() as opened:
        # Ctrl-C is how a performance ends, and SIGTERM how the service of an exhibition is stopped. A shell has what it
        # starts in the background ignore SIGINT, and then `kill -INT` would do nothing
        opened.enter_context(suppress(KeyboardInterrupt))
        for number in (signal.SIGINT, signal.SIGTERM):
            opened.callback(signal.signal, number, signal.signal(number, signal.default_int_handler))
        opened.enter_context(memory_kept())  # each frame takes the memory of the last one
        opened.enter_context(capture)
        output = output_of(options, performance, signals, figures, report)
        opened.callback(output.close)
        if options.osc is not None:
            osc = Osc(options.host, options.osc, signals)
            opened.callback(osc.close)
            report.say(f"listening for OSC on {options.host}, UDP port {osc.port}")
        Stage(performance, signals, capture, output, figures, report, options.size, options.mirror).run()
    report.say(f"stopped: {figures.line(capture.read, time.perf_counter())}")


def source_of(options: Options) -> Source:
    """The camera or clip."""
    return Camera(options.camera or "0") if options.input is None else Clip(Path(options.input))


def output_of(options: Options, performance: Performance, signals: Signals, figures: Figures, report: Report) -> Output:
    """Where the paintings are shown; says where that is."""
    if options.show == "window":
        return Window(f"OneStroke: {performance.stylizer.name}", figures.shown)
    if options.show == "virtual":
        return VirtualCamera(figures.shown, report.say)
    server = Server(performance, signals, figures.shown, options.host, options.port or 0)
    stream = "stream.mjpeg" if options.show == "mjpeg" else ""
    report.say(f"{'the stream' if stream else 'the page'}: {server.address}{stream}")
    return server


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, or 2 after printing the user's mistake in one sentence."""
    return command(Options, USAGE, run, arguments, EPILOGUE)


if __name__ == "__main__":
    sys.exit(main())
