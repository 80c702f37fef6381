/** Base64 (RFC 4648 §4) of bytes, however many: as arguments of one call, a secret of some size would not fit on the stack. */
export function encodeBase64(bytes: ArrayBuffer | Uint8Array): string {
  return btoa(Array.from(new Uint8Array(bytes), byte => String.fromCharCode(byte)).join(''))
}

/** Throws for what is none. */
export function decodeBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), char => char.charCodeAt(0))
}
