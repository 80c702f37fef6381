import express from 'express'
import { greeting } from './greeting.js'

const app = express()
app.get('/', (_request, response) => response.send(greeting(`express from ${process.getuid()}`)))
const server = app.listen(3000)
process.on('SIGTERM', () => server.close())
