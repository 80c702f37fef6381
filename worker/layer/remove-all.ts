import { lstatSync, readdirSync, rmdirSync, type Stats, unlinkSync } from 'node:fs'

/** Removes a name with all below it, synchronously; `stat` is of the name itself, and no link is followed. */
export function removeAll(at: Buffer, stat: Stats): void {
  if (!stat.isDirectory()) {
    unlinkSync(at)
    return
  }
  for (const name of readdirSync(at, 'latin1')) {
    const child = Buffer.concat([at, Buffer.from(`/${name}`, 'latin1')])
    removeAll(child, lstatSync(child))
  }
  rmdirSync(at)
}
