import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ownerOf } from './file-owner.ts'

test('files of a step are of the accounts in its own root filesystem; a number alone is the group too', async () => {
  const root = mkdtempSync(join(tmpdir(), 'slipway-owner-'))
  mkdirSync(join(root, 'etc'))
  writeFileSync(join(root, 'etc/passwd'), 'app:x:7:8::/:/bin/sh\n')
  writeFileSync(join(root, 'etc/group'), 'staff:x:50:\n')
  expect(await ownerOf('app', root)).toEqual({ uid: 7, gid: 8 })
  expect(await ownerOf('app:staff', root)).toEqual({ uid: 7, gid: 50 })
  expect(await ownerOf('7', root)).toEqual({ uid: 7, gid: 7 })
  expect(await ownerOf('', root)).toEqual({ uid: 0, gid: 0 })
  await expect(ownerOf('nobody', root)).rejects.toMatchObject({ code: 'container.user-not-found' })
  rmSync(root, { recursive: true })
})
