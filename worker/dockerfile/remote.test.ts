import { expect, test } from 'vitest'
import { fileNameOf, gitSource } from './remote.ts'

test.each([
  ['https://github.com/a/b.git', { remote: 'https://github.com/a/b.git', ref: undefined, folder: '' }],
  ['https://h/b.git#v1', { remote: 'https://h/b.git', ref: 'v1', folder: '' }],
  ['https://h/b.git#:sub/dir', { remote: 'https://h/b.git', ref: undefined, folder: 'sub/dir' }],
  ['https://h/b.git?branch=x&subdir=y', { remote: 'https://h/b.git', ref: 'x', folder: 'y' }],
  ['github.com/a/b', { remote: 'https://github.com/a/b', ref: undefined, folder: '' }],
  ['git@h:a/b.git#main:x', { remote: 'git@h:a/b.git', ref: 'main', folder: 'x' }],
  ['git://h/b', { remote: 'git://h/b', ref: undefined, folder: '' }],
  ['https://h/b.tar.gz', undefined],
  ['file:///etc', undefined],
  ['./a@b', undefined],
])('%s as a repository is %j', (text, expected) => {
  expect(gitSource(text)).toEqual(expected)
})

test.each([
  ['https://h/a/b%20c.txt?x=1', 'b c.txt'],
  ['https://h/', undefined],
  ['https://h/a/..%2f..%2fb', undefined],
  ['https://h/%2e%2e', undefined],
])('%s names the file %j', (url, expected) => {
  expect(fileNameOf(url)).toBe(expected)
})
