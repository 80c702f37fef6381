import assert from 'node:assert'
import { test } from 'node:test'
import { greeting } from './greeting.js'

test('greets', () => assert.equal(greeting('x'), 'hello x'))
