import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest'

/** A folder on the disk, which has more kinds of files and attributes than a tmpfs, with empty folders of these names in it. */
function makeFolder(name: string, inside: readonly string[]): string {
  const folder = mkdtempSync(`/var/tmp/slipway-${name}-`)
  for (const path of inside) mkdirSync(join(folder, path))
  return folder
}

/** Gives each test of a file a folder of its own, before what `beforeEach` does else. Nothing may be mounted in it at the end. */
export function eachInFolder(name: string, inside: readonly string[], give: (folder: string) => void): void {
  let folder: string
  beforeEach(() => {
    folder = makeFolder(name, inside)
    give(folder)
  })
  afterEach(() => rmSync(folder, { recursive: true, force: true }))
}

/** The same for all tests of a file together. */
export function allInFolder(name: string, give: (folder: string) => void): void {
  let folder: string
  beforeAll(() => {
    folder = makeFolder(name, [])
    give(folder)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
}
