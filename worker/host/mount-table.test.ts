import { expect, test } from 'vitest'
import { parseMounts, readMounts } from './mount-table.ts'

test('names with spaces, newlines and backslashes come back as they were', () => {
  const line =
    '36 35 98:0 /in\\040it /a\\040b\\011c\\012d\\134e\\0431/fünf rw,noatime master:1 shared:2 - overlay sl\\040ip rw,lowerdir=/x'
  expect(parseMounts(`${line}\n`)).toEqual([
    {
      id: 36,
      parentId: 35,
      device: '98:0',
      root: '/in it',
      target: '/a b\tc\nd\\e#1/fünf',
      type: 'overlay',
      source: 'sl ip',
      options: 'rw,lowerdir=/x',
    },
  ])
})

test('lines without optional fields are read, broken ones left out', () => {
  expect(parseMounts('1 0 0:1 / / rw - ext4 /dev/vda rw\nnonsense\n').map(mount => mount.target)).toEqual(['/'])
})

test('the own table has a root', async () => {
  expect((await readMounts()).map(mount => mount.target)).toContain('/')
})
