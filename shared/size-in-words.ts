const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']

/**
 * A number of bytes as people write it: `26 MiB`, `1.5 GiB`, `999 bytes`. Exact where that takes no more than one decimal, else
 * `about 1.4 GiB`. Pure.
 */
export function sizeInWords(bytes: number): string {
  let value = bytes
  let unit = 0
  while (Math.round(value * 10) / 10 >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit++
  }
  const rounded = Math.round(value * 10) / 10
  if (bytes === 1) return '1 byte'
  return `${rounded === value ? '' : 'about '}${rounded} ${UNITS[unit]}`
}
