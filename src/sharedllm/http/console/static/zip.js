// Several files as one: a ZIP archive without compression, made here so that one request carries all of them.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  return sum;
});
const FIRST_OF_1980 = 0x21;
const UTF8 = 0x800;

function crc32(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) sum = (sum >>> 8) ^ TABLE[(sum ^ byte) & 0xff];
  return (sum ^ 0xffffffff) >>> 0;
}

// Little-endian numbers: pairs of how many bytes, and which.
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    size === 2 ? view.setUint16(at, value, true) : view.setUint32(at, value, true);
    at += size;
  }
  return view.buffer;
}

export async function zipped(files) {
  const parts = [];
  const central = [];
  const names = new Map();
  let offset = 0;
  for (const file of files) {
    const path = file.webkitRelativePath || file.name;
    const before = names.get(path) ?? 0;
    names.set(path, before + 1);
    const name = new TextEncoder().encode(before ? `${before + 1}/${path}` : path);
    const bytes = new Uint8Array(await file.arrayBuffer());
    const about = [
      [2, 20], [2, UTF8], [2, 0], [2, 0], [2, FIRST_OF_1980],
      [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, name.length], [2, 0],
    ];
    const local = record([4, 0x04034b50], ...about);
    parts.push(local, name, bytes);
    central.push(record([4, 0x02014b50], [2, 20], ...about, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), name);
    offset += local.byteLength + name.length + bytes.length;
  }
  const size = central.reduce((sum, each) => sum + each.byteLength, 0);
  const count = files.length;
  const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0]);
  return new Blob([...parts, ...central, end]);
}
