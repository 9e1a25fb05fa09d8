/* MIDI controllers, such as knobs and faders. */

/**
 * Listen to all that are plugged in, now and later.
 * @param {(values: Object<string, number>) => void} heard told of each controller that moves: midi.<number>, in [0, 1]
 * @returns {Promise<void>} rejects if the browser has no MIDI, or it is not allowed
 */
export async function listenToMidi(heard) {
  const access = await navigator.requestMIDIAccess();
  const hear = ({ data: [status, number, value] }) => {
    if ((status & 0xf0) === 0xb0) heard({ [`midi.${number}`]: value / 127 }); // a control change
  };
  const all = () => access.inputs.forEach((input) => (input.onmidimessage = hear));
  access.onstatechange = all;
  all();
}
